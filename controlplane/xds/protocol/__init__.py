"""The xDS transport protocol without I/O: events in, commands out.

A stream machine is told what happened (`request_received`, `view_changed`, `write_finished`, `time_passed`) and
answers with commands (`Send`, `Refused`, `Close`, …) for whoever holds the socket. It never waits, reads no clock but
the one it was given, and keeps no copy of what it sent: "what the view shows, except these few names".
"""
