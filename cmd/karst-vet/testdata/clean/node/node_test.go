package node

import _ "example.test/clean/core/det"
