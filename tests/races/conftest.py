"""What the races are given."""

from tests.firestore.strict import strict_documents

__all__ = ["strict_documents"]
