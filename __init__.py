"""understudy watches a customer chat from the side and learns from it; nothing it says is ever sent.

The public names are loaded when they are first used, so that importing the package costs a host almost nothing.
"""
