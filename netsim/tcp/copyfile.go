package tcp

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/netsim"
)

const copyPiece = 256 << 10

// copyFile sends a region through memory, where sendfile cannot.
func (s *sender) copyFile(reg netsim.Region, r core.Ref) error {
	piece := core.NewRef(int(min(r.Len, copyPiece)))
	defer piece.Release()
	for at := int32(0); at < r.Len; {
		b := piece.Bytes()[:min(piece.Len, r.Len-at)]
		if n, _ := reg.ReadAt(b, r.Off+int64(at)); n < len(b) {
			return errShortFile
		}
		s.add(b)
		if _, err := s.send(true, false); err != nil {
			s.clear()
			return err
		}
		at += int32(len(b))
	}
	return nil
}
