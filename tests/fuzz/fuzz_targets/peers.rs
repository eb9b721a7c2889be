#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cpc_fuzz::peers(data));
