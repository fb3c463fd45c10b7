"""How the settings of ``haven_vlm_config`` are read: the layers, their values, and how they
become one.
"""
