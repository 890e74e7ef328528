"""Encoded resources, and what one scope of proxies sees of them.

A resource is encoded once, when it changes; everything after that is joins of these bytes.
"""
