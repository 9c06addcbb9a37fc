# SPDX-License-Identifier: GPL-2.0-only
"""An adapter behind an IOMMU, which knows only the pages that are mapped for it.

Normally: the simulated adapter looks each address up in the page tables of an emulated Intel
IOMMU. The kernel's own driver fills these, merges pages that lie together, and takes them out at
once (iommu.strict). Verified data of all sizes pass, and nothing else was touched.

Recovery: an address that is not mapped fails the connection, and is counted; a variant of the
module that unmaps too early shows that.
"""

import pytest

import test_adapters
from iserlab import variants

KERNELS = ("6.12", "debug")     # all with --all
SAMPLE = {"6.12": 3}
KINDS = ("usual", "MRs with gaps", "two pages in an MR", "no local DMA lkey",
         "no remote invalidation", "late acknowledgements", "unsolicited data")
LAID_OUT = ("usual", "MRs with gaps")       # see test_adapters.test_memory_layouts()
FAULTS = {
    "lost": "at=cmd nth=5 do=abort",
    "QP fails": "at=cmd nth=5 do=qp_fatal",
    "written to behind the response": "at=read nth=3 do=touch us=500",
    "key not invalidated, then used": "at=rsp_read nth=3 do=inv mode=silent",
}


def mapped(sim):
    """What is mapped for the adapter; of a kernel that keeps account of that."""
    dump = sim.guest.read("/sys/kernel/debug/dma-api/dump")
    return [line for line in dump.splitlines() if sim.dma_device in line]


def ends_well(sim, session):
    """Nothing was touched that was not mapped, and nothing is left."""
    accounts = sim.guest.kernel.checks
    assert not accounts or mapped(sim)
    sim.ends_well(session)
    assert not accounts or not mapped(sim)


def test_the_iommu_is_there(iommu):
    """It translates for the adapter, and it is strict."""
    where = f"/sys/bus/pci/devices/{iommu.dma_device}/iommu_group/type"
    assert iommu.guest.read(where).strip() == "DMA"
    assert not iommu.hca.counters()["dma_ops"]


@pytest.mark.parametrize("kind", KINDS)
def test_data_are_right(iommu, kind):
    """With all kinds of memory that adapters want."""
    iommu.adapter(**test_adapters.KINDS[kind])
    session = iommu.login()
    iommu.io(session)
    if kind in LAID_OUT:
        iommu.layouts(session)
    assert iommu.hca.counters()["connects"] == 1, "the connection was lost meanwhile"
    ends_well(iommu, session)


@pytest.mark.parametrize("what", FAULTS)
def test_faults(iommu, what):
    """Memory is unmapped when nobody can use it any more."""
    session = iommu.login()
    iommu.hca.rules(FAULTS[what])
    iommu.io(session)
    assert all(iommu.hca.hits())
    iommu.hca.calm()
    iommu.io(session)
    ends_well(iommu, session)


@pytest.mark.breaks_rules
def test_a_page_that_is_unmapped_too_early_is_noticed(iommu):
    """A module that does not wait for a Send of data: the adapter sends it once more."""
    iommu.use(variants.of(variants.UNWAITED_SENDS))
    iommu.adapter(**test_adapters.KINDS["late acknowledgements"])
    session = iommu.login()
    # apart from each other, as the next command would be mapped to the same place
    iommu.guest.run(f"for i in 1 2 3 4 5; do dd if=/dev/zero of={session.disk} bs=4k count=1 "
                    "oflag=direct; sleep 0.1; done", check=False)
    assert iommu.hca.counters()["v_dma_unmapped"]
