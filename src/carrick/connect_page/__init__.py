"""The page on which an end user connects an account: plain files, without a build step."""

from carrick.connect_page.files import PageFile, page_files, page_texts

__all__ = ["PageFile", "page_files", "page_texts"]
