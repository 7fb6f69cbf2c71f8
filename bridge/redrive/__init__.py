"""Dead letters sent again."""
