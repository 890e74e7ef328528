"""Serving snapshots to Envoy over ADS: sans-I/O stream machines in `protocol`, and one server that performs them.

This room does not know what a Service is. It reads views, and knows what each stream has of them.
"""
