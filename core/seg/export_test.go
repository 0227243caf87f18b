package seg

// Points is how many points an index holds.
func Points(x *Index) int { return len(x.points) }
