"""Every test class of the suite, by verb."""

from collections.abc import Sequence

from oncetask_conformance.suite.batching import BatchingTests
from oncetask_conformance.suite.claiming import (
    GrantingTests,
    NextDueTests,
    RepeatingTests,
    SuspectsTests,
    TakingTests,
    UnreadableTests,
)
from oncetask_conformance.suite.counting import CountingTests
from oncetask_conformance.suite.deciding import (
    CancellingTests,
    ReschedulingTests,
    ResettingTests,
    StaleDecisionsTests,
)
from oncetask_conformance.suite.deleting import DeletingTests
from oncetask_conformance.suite.expiring import ExpiringTests
from oncetask_conformance.suite.finding import FindingTests
from oncetask_conformance.suite.getting import GettingTests
from oncetask_conformance.suite.grouping import GroupingTests
from oncetask_conformance.suite.inserting import InsertingTests
from oncetask_conformance.suite.isolating import IsolationTests
from oncetask_conformance.suite.opening import OpeningTests
from oncetask_conformance.suite.racing import RacingTests
from oncetask_conformance.suite.recording import ControlRecordsTests
from oncetask_conformance.suite.renewing import RenewingTests
from oncetask_conformance.suite.seating import ExclusionTests, SeatingTests, StrictOrderTests
from oncetask_conformance.suite.settling import (
    CancelledRunsTests,
    FencingTests,
    RepeatedSettlesTests,
    SettlingTests,
)
from oncetask_conformance.suite.ticking import TickingTests
from oncetask_conformance.suite.waking import WakingTests

SUITE: Sequence[type] = (
    OpeningTests,
    InsertingTests,
    GettingTests,
    FindingTests,
    CountingTests,
    GrantingTests,
    TakingTests,
    SuspectsTests,
    RepeatingTests,
    NextDueTests,
    UnreadableTests,
    ExclusionTests,
    SeatingTests,
    StrictOrderTests,
    GroupingTests,
    SettlingTests,
    CancelledRunsTests,
    FencingTests,
    RepeatedSettlesTests,
    CancellingTests,
    ResettingTests,
    ReschedulingTests,
    StaleDecisionsTests,
    ExpiringTests,
    RenewingTests,
    DeletingTests,
    ControlRecordsTests,
    TickingTests,
    BatchingTests,
    IsolationTests,
    RacingTests,
    WakingTests,
)
