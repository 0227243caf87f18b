package api

import "github.com/karst-stream/karst/core/wire"

// ApiVersions: v0-4
//
// Behaviour:
//   - Lists what this package serves, with the ranges of the codec's one table.
//   - A version that is not served is answered in version 0 with UNSUPPORTED_VERSION and the range of
//     ApiVersions itself; the connection stays (KIP-511).
//   - A client software name or version that is no word is INVALID_REQUEST.
//
// Version notes:
//   - v3: client software name and version, features.
//   - v4: features whose least version is 0 may be listed.
//
// Left out: features of things that do not exist here (transactions, the new group protocols, share
// groups): clients that read them fall back to what does. Telemetry keys are never listed: librdkafka
// complains at every start when they are.
func apiVersions(r *request, body wire.Message) {
	q := body.(*wire.ApiVersionsRequest)
	resp := wire.NewApiVersionsResponse()
	if r.version() >= 3 && !(word(q.ClientSoftwareName) && word(q.ClientSoftwareVersion)) {
		resp.ErrorCode = wire.InvalidRequest
		resp.ApiKeys = []wire.ApiVersionsResponseKey{}
		r.answer(&resp)
		return
	}
	for i := range wire.APIs {
		if a := &wire.APIs[i]; handlerOf(a.Key) != nil {
			resp.ApiKeys = append(resp.ApiKeys, apiRange(a))
		}
	}
	resp.SupportedFeatures = []wire.ApiVersionsResponseSupportedFeature{
		{Name: "metadata.version", MinVersion: metadataLevelMin, MaxVersion: metadataLevelMax}}
	resp.FinalizedFeatures = []wire.ApiVersionsResponseFinalizedFeature{
		{Name: "metadata.version", MinVersionLevel: metadataLevelMax, MaxVersionLevel: metadataLevelMax}}
	resp.FinalizedFeaturesEpoch = int64(r.h().View().Version)
	r.answer(&resp)
}

// Levels of metadata.version: Kafka 4's least (3.3-IV3) and that of Kafka 4.2 (4.2-IV1).
const (
	metadataLevelMin = 7
	metadataLevelMax = 29
)

func apiRange(a *wire.API) wire.ApiVersionsResponseKey {
	return wire.ApiVersionsResponseKey{ApiKey: int16(a.Key), MinVersion: a.AdvertisedMin, MaxVersion: a.AdvertisedMax}
}

// unsupportedVersion answers an ApiVersions from the future.
func unsupportedVersion(r *request) {
	resp := wire.NewApiVersionsResponse()
	resp.ErrorCode = wire.UnsupportedVersion
	resp.ApiKeys = []wire.ApiVersionsResponseKey{apiRange(wire.Lookup(wire.KeyApiVersions))}
	r.answerAs(0, &resp, nil)
}

// word is Kafka's pattern for software names: letters, digits, '-' and '.', a letter or digit at both ends.
func word(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		inner := (c == '-' || c == '.') && i > 0 && i < len(s)-1
		if !inner && !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') {
			return false
		}
	}
	return s != ""
}
