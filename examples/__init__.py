"""Django sites and programmes that show carpool at work."""
