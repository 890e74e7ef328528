"""Traffic in traffic words: what the front ends mean and the back end encodes.

Front ends (`mesh`, later `gatewayapi`) know APIs and not Envoy; the back end (`envoy`) knows Envoy and no API. Between
them stand these frozen values. Each says what to do with traffic, with every default already decided, and carries the
origin of what it says, so that a byte sent to a proxy can be traced to an object and a field.

Two rules keep it so: no type here mentions an API kind, and no type here is a protobuf.
"""
