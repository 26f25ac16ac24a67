"""Changes to the graph, one pass a file, and the solvers behind them."""
