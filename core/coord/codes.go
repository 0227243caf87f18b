package coord

// Kafka's error codes, as far as a group coordinator gives them (Errors.java of Apache Kafka).
const (
	errNone                   int16 = 0
	errUnknownTopic           int16 = 3
	errOffsetMetadataTooLarge int16 = 12
	errLoadInProgress         int16 = 14
	errNotAvailable           int16 = 15 // COORDINATOR_NOT_AVAILABLE
	errNotCoordinator         int16 = 16
	errIllegalGeneration      int16 = 22
	errInconsistentProtocol   int16 = 23
	errInvalidGroupID         int16 = 24
	errUnknownMember          int16 = 25
	errInvalidSessionTimeout  int16 = 26
	errRebalanceInProgress    int16 = 27
	errInvalidRequest         int16 = 42
	errNonEmptyGroup          int16 = 68
	errGroupNotFound          int16 = 69
	errMemberIDRequired       int16 = 79
	errGroupMaxSizeReached    int16 = 81
	errFencedInstance         int16 = 82
	errSubscribedToTopic      int16 = 86
	errUnknownTopicID         int16 = 100
)
