"""A page to look at runs and comparisons: what their directories hold, as one HTML file, served on loopback.

Directories may be another's: nothing that they name is imported, started or connected to, their JSON is data, their
text is shown as text, and files outside of them are not read.
"""
