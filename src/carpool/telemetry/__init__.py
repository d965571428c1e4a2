"""What the pools did, for people and for programs."""
