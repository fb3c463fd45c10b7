"""Measurements, each made by a command of the Makefile. Nothing here is part of the product."""
