"""Independent references: PyTorch models in float64, and the rule by which numbers are compared."""
