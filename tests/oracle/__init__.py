"""A second, independent reading of the contract, with inputs to try it on.

No test of the product's own parts lives here; they use it from outside.
"""
