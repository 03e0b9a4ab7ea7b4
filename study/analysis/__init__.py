"""Pure functions over data frames: what trials and confirmations say, and how surely."""
