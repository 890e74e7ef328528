"""The back end: traffic in traffic words becomes Envoy messages, one file per xDS type and per filter.

Never reads an API object, never asks anybody anything: a pure function of one `ir` value and the mesh's settings.

How it stays fast. Most of what Envoy wants for a service is the same for every service, so the parts that repeat
are built once, as messages, and kept as bytes; a resource is then a join of kept bytes and of the few fields that
are its own (`wire`). Protobuf allows that: fields of a message may be concatenated. Everything rare is built with
ordinary messages, where it reads better.
"""
