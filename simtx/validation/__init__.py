"""Calibration of this machine, and predictions beside measurements."""
