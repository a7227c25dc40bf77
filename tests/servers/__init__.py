"""Real servers that tests start for themselves: free loopback ports, a temporary folder, gone afterwards."""
