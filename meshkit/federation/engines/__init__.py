"""Engines that run gated queries."""
