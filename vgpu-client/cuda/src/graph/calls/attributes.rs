//! Launch attributes of kernel nodes.

use crate::driver::driver;
use crate::fail::{Call, INVALID_VALUE};
use crate::graph::{self, KernelWork, Work};
use crate::launch_attribute::Value;
use crate::pointers::{In, Out};

fn get(node: u64, which: u32, out: Out<Value>) -> Call {
    out.required()?;
    out.set(graph::look(driver()?, node, |node| match &node.work {
        Work::Kernel(kernel) => kernel.attribute(which),
        _ => Err(INVALID_VALUE),
    })?);
    Ok(())
}

fn set(node: u64, which: u32, value: In<Value>) -> Call {
    let value = value.read()?;
    graph::change(driver()?, node, |work| match work {
        Work::Kernel(kernel) => kernel.set_attribute(which, &value),
        _ => Err(INVALID_VALUE),
    })
}

fn copy(destination: u64, source: u64) -> Call {
    let driver = driver()?;
    let from: KernelWork = graph::look(driver, source, |node| match &node.work {
        Work::Kernel(kernel) => Ok(kernel.clone()),
        _ => Err(INVALID_VALUE),
    })?;
    graph::change(driver, destination, |work| match work {
        Work::Kernel(kernel) => {
            *kernel = kernel.clone().with_attributes_of(&from);
            Ok(())
        }
        _ => Err(INVALID_VALUE),
    })
}

driver_calls! {
    fn cuGraphKernelNodeGetAttribute(node: u64, attribute: u32, out: Out<Value>) { get(node, attribute, out) }
    fn cuGraphKernelNodeSetAttribute(node: u64, attribute: u32, value: In<Value>) { set(node, attribute, value) }
    fn cuGraphKernelNodeCopyAttributes(destination: u64, source: u64) { copy(destination, source) }
}
