"""Files from strangers: judged before they are decoded, decoded under bounds."""
