"""Tasks in Google's Cloud Firestore, in the documents of the Go library."""
