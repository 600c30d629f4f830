"""Folders of pictures as the studio shows and edits them; captions change by ``renma.caption``."""
