"""How much error each operator lets through, one file an operator family."""
