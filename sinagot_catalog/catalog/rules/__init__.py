"""The rules of the catalog: how a row gets its status, when it is stale, and the sentences that explain it.

In: columns on rows of `steps`. Out: their status, the causes that make them stale, sentences, notices on a listing.

Begin with `status_rules`, the table of rules that everything reads that tells a status.
"""
