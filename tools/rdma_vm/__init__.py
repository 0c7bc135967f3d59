"""A guest with soft-RoCE: real ibverbs on a machine without an adapter."""
