"""What happens, in order, and what the user gets to see."""
