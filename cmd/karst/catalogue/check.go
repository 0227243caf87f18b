package catalogue

// K06: histories and their verdicts.
var (
	BadHistory = define("K0601", Usage, "the file is no history that can be judged",
		"A history is judged only when every line of it is understood: the format and its version, "+
			"every field, operations in the order in which they ended, and the last line, which counts them. "+
			"Anything else gets no verdict, because a lax reader could call clean what it did not see.",
		"read the line named above; docs/history-format.md explains every field",
		"karst check record --out FILE        to write one")
	Anomaly = define("K0602", Unhealthy, "the history shows what must never happen",
		"The ids are explained in docs/history-format.md. A clean history proves nothing about the "+
			"next one; an anomaly is a fact about this one.",
		"karst check FILE -o json        to see everything that was found",
		"open the picture named above in a browser, when there is one")
	NoVerdict = define("K0603", Failed, "the history was understood, and no verdict could be reached",
		"A partition was not read to its end, or the search for an order of the operations had to be "+
			"given up. That is not the same as clean.",
		"record again, and let the final read end",
		"karst check FILE --window 100000        to search longer")
	NotRecorded = define("K0604", Failed, "the recording could not be finished",
		"The topic could not be made, or its partitions could not be read to their ends in time. What "+
			"was written so far is no whole history.",
		"karst cluster info        to see which brokers are alive",
		"karst check record --drain 5m        to wait longer for the final read")
)
