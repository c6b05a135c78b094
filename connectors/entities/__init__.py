"""The service of metadata: who and what there is, how it is connected, what happened, and who may do what.

One :class:`~connectors.entities.directory.Directory` is one transaction on behalf of one actor. Every change writes its
event in that transaction, so that what the log says happened did, and nothing else did.
"""
