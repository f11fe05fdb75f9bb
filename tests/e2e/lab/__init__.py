"""The lab: real servers and clients on loopback, one of each kind in a file of its own."""
