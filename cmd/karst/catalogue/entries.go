package catalogue

// K00: the command line.
var (
	UnknownCommand = define("K0001", Usage, "there is no such command",
		"The first words of a command line name a command of the tree that `karst --help` shows. "+
			"A name that is close to an existing one is suggested.",
		"karst --help        to see the commands")
	BadFlag = define("K0002", Usage, "a flag is unknown or its value cannot be understood",
		"Flags are checked before anything is done, so nothing was touched.",
		"karst COMMAND --help        to see the flags of a command")
	BadArgument = define("K0003", Usage, "an argument is missing, superfluous or malformed",
		"Each command's help shows its arguments in capitals; three dots say that it may be repeated.",
		"karst COMMAND --help        to see what the command expects")
	NotConfirmed = define("K0004", Usage, "a destructive command was not confirmed",
		"Deleting asks for the name to be typed on a terminal. In a pipe or a script nobody can be "+
			"asked, so it is refused without -y.",
		"add -y to confirm, or --dry-run to see what would be done")
	BadFormat = define("K0005", Usage, "a record format cannot be understood",
		"Formats are text with escapes: %t topic, %p partition, %o offset, %k key, %v or %s value, "+
			"%h headers, %T timestamp in ms, %d date, %K and %S lengths, %% a percent sign; "+
			"\\n \\t \\r \\\\ and \\xNN as in C.",
		"karst consume TOPIC -f '%p %o %k %v\\n'")
	BadOffset = define("K0006", Usage, "a place in a log cannot be understood",
		"Offsets are start, end, a number (negative counts from the end), or @time, where time is "+
			"milliseconds since 1970, an RFC 3339 date, or a duration such as @-10m before now.",
		"karst consume TOPIC -o start", "karst consume TOPIC -o @-10m")
	NoSuchCode = define("K0007", NotFound, "there is no page with this name",
		"`karst docs` knows every error code (K and four digits) and the configuration keys.",
		"karst docs        to list the pages")
)

// K01: clusters, topics, groups.
var (
	Unreachable = define("K0101", Failed, "no broker answers",
		"None of the bootstrap addresses accepted a connection. Kafka ports open only when the "+
			"cluster has a majority and can answer, so a node that starts alone also looks like this.",
		"karst dev        to start a cluster on this machine",
		"name another address with -B HOST:PORT or KARST_BOOTSTRAP")
	NoAnswer = define("K0102", TimedOut, "the cluster did not answer in time",
		"A broker accepted the connection but the request was not finished before --timeout. "+
			"Partitions without a majority of their replicas wait for it to come back.",
		"karst cluster info        to see which brokers are alive",
		"raise --timeout")
	Unauthorised = define("K0103", Refused, "the cluster refused the operation for this user",
		"An access rule, or its absence, denies what was asked.",
		"ask the owner of the cluster for the operation named above")
	BrokerRefused = define("K0104", Failed, "the broker answered with an error",
		"The name in capitals is Kafka's own error; its meaning is the same as with Apache Kafka.",
		"look the name up in Kafka's protocol documentation")
	TopicUnknown = define("K0140", NotFound, "the topic does not exist",
		"Names are case sensitive. A topic that was just deleted is gone at once; one that was just "+
			"created is visible on every broker when `karst topic create` has returned.",
		"karst topic list        to see the topics",
		"karst topic create NAME")
	TopicThere = define("K0141", Failed, "the topic exists already",
		"Topic names are unique within a cluster.",
		"karst topic describe NAME        to see what is there",
		"karst topic create NAME --if-not-exists")
	TooFewNodes = define("K0142", Failed, "the replication factor is higher than the number of nodes alive",
		"Each copy of a partition lives on a node of its own, and a topic is only created when every "+
			"copy has a place.",
		"karst cluster info        to see which nodes are alive",
		"karst topic create NAME -r 1")
	BadTopicName = define("K0143", Usage, "the topic name is not allowed",
		"A name has 1 to 249 of the characters a-z A-Z 0-9 . _ - and is neither . nor ..",
		"karst topic create my-topic")
	BadPartitions = define("K0144", Failed, "the number of partitions is not possible",
		"A topic has at least one partition, and its partitions can only grow: keys would change "+
			"their partition otherwise.",
		"karst topic describe NAME        to see how many there are")
	BadTopicConfig = define("K0145", Failed, "a configuration key or value was refused",
		"Keys have Kafka's names. An unknown key is refused, because a misspelt one that is silently "+
			"ignored is worse.",
		"karst docs configs        to list the keys")
	NotTrimmed = define("K0146", Failed, "the topic does not let records be deleted",
		"Records are deleted by offset only where cleanup.policy has delete; a compacted topic keeps the last record "+
			"of every key, and internal topics are the cluster's own.",
		"karst topic describe NAME        to see its cleanup.policy",
		"karst topic alter NAME -c cleanup.policy=compact,delete")
	CopiesDiffer = define("K0147", Unhealthy, "the copies of a topic are not all there and equal",
		"Up to the high watermark the files of all replicas hold the same bytes. A copy that rots is found by its "+
			"node's scrubber, which fetches what is lost; one that is behind catches up when its node has time; one that "+
			"does not answer is on a node that is away, or offline there.",
		"karst topic verify NAME --deep        again in a minute: what rots is being mended",
		"look at the log of the node named above",
		"karst log verify DIR        on that node, when it is stopped")
	GroupUnknown = define("K0150", NotFound, "the group does not exist",
		"A group exists while it has members or committed offsets.",
		"karst group list        to see the groups")
	GroupBusy = define("K0151", Failed, "the group has members",
		"Offsets of a group can be moved, and a group deleted, only when no member is connected; "+
			"otherwise the members would overwrite the change with their next commit.",
		"stop the consumers, then repeat",
		"karst group describe NAME        to see who they are")
	NotProduced = define("K0160", Failed, "records were not acknowledged",
		"The broker refused the records, or could not reach a majority of replicas in time. Records "+
			"named as acknowledged before are safe.",
		"karst topic describe NAME        to see whether every partition has a leader")
	TooLarge = define("K0161", Failed, "a record is larger than the topic allows",
		"max.message.bytes of the topic bounds a compressed batch, and a record must fit into one.",
		"karst topic alter NAME -c max.message.bytes=N")
)

// K02: a node and its configuration.
var (
	UnknownKey = define("K0201", Usage, "a configuration key is unknown",
		"The configuration is strict: a misspelt key that is silently ignored is worse than an error.",
		"karst docs configs        to list the keys")
	BadValue = define("K0202", Usage, "a configuration value cannot be understood",
		"Every key has a type: string, bool, int, list, size in bytes, time in milliseconds.",
		"karst docs configs        to see types and defaults")
	BadFile = define("K0203", Usage, "the configuration file cannot be read",
		"The file is YAML: one key and its value a line; lists in brackets or with dashes.",
		"check the path and the line named above")
	Missing = define("K0204", Usage, "a setting that has no default is missing",
		"A node must know who it is, where its data live and where it listens.",
		"karst start --node-id 1 --data DIR --listen 127.0.0.1:9092 --peer-listen 127.0.0.1:33145",
		"karst dev        for a cluster on this machine without any setting")
	Contradiction = define("K0205", Usage, "settings contradict each other",
		"Nothing was touched.",
		"correct the setting named above")
	PortTaken = define("K0206", Failed, "a port is taken",
		"Another process listens on the address. `karst start` never moves to another port, because "+
			"clients would not find it.",
		"ss -ltnp        to see who listens",
		"choose another port")
	DiskFull = define("K0207", Failed, "the disk is full",
		"A node needs room for its journal before it may promise durability to anybody.",
		"df -h DIR        to see the room that is left", "give another directory with --data")
	NotStarted = define("K0208", Failed, "the node cannot run",
		"The node found something that it must not repair by itself: a data directory of another "+
			"node or cluster, a newer format, a directory in use. Nothing was touched.",
		"read the reason above; give another directory with --data, or the node id that the directory has")
)

// K03: karst dev.
var (
	DevBusy = define("K0301", Failed, "another karst dev uses the data directory",
		"One supervisor owns a directory. What is left of a killed run is waited for, five seconds.",
		"karst dev status        to see it", "karst dev --data OTHER")
	DevAbsent = define("K0302", NotFound, "no karst dev runs on the data directory",
		"The verbs of karst dev speak to a running supervisor, which is found by its data directory.",
		"karst dev -n 3        to start one", "name its directory with --data DIR")
	DevPortTaken = define("K0303", Failed, "a port that was asked for is taken",
		"Ports given with --ports are used or refused, never replaced.",
		"ss -ltnp        to see who listens", "leave --ports away, and free ones are taken")
	DevNodeDied = define("K0304", Failed, "a node ended before the cluster was ready",
		"The last lines of its log are shown above.",
		"read the log in the data directory")
	DevNoNode = define("K0305", NotFound, "the cluster has no node with this id",
		"The verbs of karst dev take node ids, which start at --first-node-id (1 by default).",
		"karst dev status        to see the ids")
	DevNoSwitch = define("K0306", Failed, "the cluster was started without a power switch",
		"A power cut discards what no completed sync covers. The layer that knows this costs a "+
			"little and is only there when asked for.",
		"karst dev -n 3 --power-switch")
	DevNotReady = define("K0307", TimedOut, "the cluster is not ready",
		"A cluster is ready when a majority of its nodes runs and every topic has its leaders.",
		"karst dev status        to see the nodes", "read the logs in the data directory")
	DevState = define("K0308", Failed, "the node is not in a state for this",
		"A dead node cannot be killed, paused or stopped, and a running one cannot be revived.",
		"karst dev status        to see the states")
)

// K04: the simulator. K05: the demo.
var (
	SimViolation = define("K0401", Unhealthy, "a simulated run violated a promise",
		"The seed decides everything: the command that is printed last replays the run to the same "+
			"event on every machine with the same build.",
		"karst sim run --seed N --trace        to see every event of it")
	SimMutant = define("K0402", Usage, "this build does not carry the mutant",
		"Mutants are planted bugs that prove the checkers; they exist only in builds made for them.",
		"go run -tags mutants ./cmd/karst sim run --seeds 1..500 --mutant M01")
	SimRange = define("K0403", Usage, "the seeds or the time to simulate cannot be understood",
		"A seed is a number, a range is A..B with both ends included, time is like 60s.",
		"karst sim run --seed 7 --for 60s", "karst sim run --seeds 1..100")
	SimPlan = define("K0404", Usage, "the plan cannot be played",
		"A plan says what a run is: size, loads, faults and their moments, a line each. A line that cannot be "+
			"understood, or contradicts others, is refused before anything is played.",
		"karst sim plan --seed 7        for a plan to begin with", "karst sim plan        for what a plan may say")
	SimStopped = define("K0405", Failed, "the simulation was stopped before its end",
		"What ended before counts; of the rest nothing is known.",
		"run it again; seeds do not depend on each other")
	DemoRed = define("K0501", Unhealthy, "the demo found something that must not be",
		"The lines of the verdict above that are not ok say what.",
		"karst demo --data DIR --keep        and look at DIR")
	DemoFile = define("K0502", Usage, "the file does not hold flights",
		"The demo reads a CSV, compressed by zstd, whose first line is "+
			"date,delay,distance,origin,destination.",
		"karst demo        takes the sample inside the binary")
	DemoFailed = define("K0503", Failed, "the demo could not go on",
		"A step of the demo met an error before there was anything to judge.",
		"karst demo --data DIR --keep        and look at DIR")
	Internal = define("K0901", Failed, "something unforeseen happened",
		"An error that the catalogue does not know reached the surface. That is a fault of karst.",
		"report it with the whole output")
)
