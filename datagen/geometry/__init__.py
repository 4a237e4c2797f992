"""Where fields live: axes, grids, clouds of points, meshes."""
