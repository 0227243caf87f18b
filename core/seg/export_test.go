package seg

import "unsafe"

// Memory is how many bytes an index holds.
func Memory(x *Index) int {
	return len(x.offTop)*int(unsafe.Sizeof(offsetTop{})) + len(x.timeTop)*int(unsafe.Sizeof(timeTop{})) +
		len(x.offs.tail) + len(x.times.tail)
}
