"""`espnet3 doctor`: what a cluster is like, what is wrong with it for us, and a site file for it."""
