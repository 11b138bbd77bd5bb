"""The ground floor: pieces that know no app of this project."""
