"""From a dataset file to tensors: splits, windows, loaders."""
