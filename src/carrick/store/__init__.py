"""The database: tables by group, one unit of work at a time. The only room that knows SQL.

Rows go in and out as the types of `carrick.model` where those exist, and as frozen row classes of
the group's own file where the store alone needs them. Secrets arrive and leave as ciphertext.
"""
