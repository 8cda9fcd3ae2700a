"""`python -m oncetask worker module:manager`."""

import sys

from oncetask_core.main import main

sys.exit(main())
