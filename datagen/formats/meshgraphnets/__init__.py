"""The data of MeshGraphNets (TFRecord)."""
