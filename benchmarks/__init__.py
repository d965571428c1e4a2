"""What carpool costs, measured beside others in the same run; never installed."""
