"""The app's migrations, so that Django writes none into an installed package."""
