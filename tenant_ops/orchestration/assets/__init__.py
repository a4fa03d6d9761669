"""The asset graph, one module per group. Assets are thin: tenants, a domain function, its report."""
