"""The five assets and the graph of four ops that makes them."""
