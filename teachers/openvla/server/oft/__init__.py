"""OpenVLA-OFT: the same network with bidirectional attention, a chunk of actions in one pass, and other heads."""
