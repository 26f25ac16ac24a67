"""What pages and terminals say in the same words."""
